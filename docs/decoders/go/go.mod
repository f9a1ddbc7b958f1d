module fieldtap-decode

go 1.21
