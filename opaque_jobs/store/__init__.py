"""The metadata database: ids, public documents, signatures, states and times. No data, no key, no result.

Nothing in it is believed without a signature: brokers and the agent verify everything again. Rows never leave this package.
"""
