"""What runs inside the enclave: it measures, attests, fetches keys, runs the author's code apart from them, seals, and signs."""
