module culvert/gotarget

go 1.19
