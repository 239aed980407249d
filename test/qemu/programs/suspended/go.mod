module suspended

go 1.24
