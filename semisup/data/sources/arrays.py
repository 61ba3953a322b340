"""Arrays of NumPy: an .npz file, or a folder of .npy files."""

from semisup.data.own_images.as_source import own_source
from semisup.data.own_images.containers.arrays import list_arrays

SOURCE = own_source(list_arrays, remote=True)
