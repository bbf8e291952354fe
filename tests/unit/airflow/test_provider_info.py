import json
import subprocess
import sys
from importlib.resources import files

import jsonschema

from opaque_jobs.airflow.provider_info import get_provider_info


def test_provider_info_fits_airflows_schema():
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def imports_airflow(modules):
    code = f"import sys, {modules}; sys.exit('airflow' in sys.modules)"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode != 0


def test_provider_info_does_not_import_airflow():
    assert not imports_airflow("opaque_jobs.airflow.provider_info")


def test_launcher_and_housekeeping_do_not_import_airflow():
    # The command line imports them; Airflow would cost it four seconds.
    assert not imports_airflow("opaque_jobs.standalone.launcher, opaque_jobs.airflow.reconcile")
