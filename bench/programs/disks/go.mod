module disks

go 1.24
