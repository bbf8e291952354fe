"""Nouns, lifecycles and rules, pure: no I/O, no clock, no cryptography.

`canonical` and `document` turn nouns into signed bytes and back; `lifecycle` has every state table; `job.JobSpec` is what
members approve; `review` is what their votes must say (signatures: `crypto.consent`); `run.Receipt` is what is left of a run.
"""
