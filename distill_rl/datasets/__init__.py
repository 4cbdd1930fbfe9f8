"""Fixed data: one layout in memory and on disk, readers and writers of the formats others use."""
