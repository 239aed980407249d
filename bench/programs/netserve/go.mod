module netserve

go 1.24
