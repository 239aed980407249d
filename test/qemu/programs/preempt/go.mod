module preempt

go 1.24
