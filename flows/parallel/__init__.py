"""Several tasks at the same time: in processes of this machine, or on a Dask cluster."""
