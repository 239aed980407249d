module disk

go 1.24
