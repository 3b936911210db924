package guestmem

// Pages is RegionInfo.pages, for page sizes that the system may not have.
func Pages(i RegionInfo, page uint64) (start, skip, length uint64) { return i.pages(page) }
