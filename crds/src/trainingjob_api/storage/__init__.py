"""The layout of a job's storage: its log, its manifests, its names. Pure; reading and writing is trainingjob_storage's."""
