package socket

import "net"

func exchange(nc net.Conn, p, in []byte) (wrote, n int, err error) {
	if wrote, err = nc.Write(p); err == nil {
		n, err = nc.Read(in)
	}
	return wrote, n, err
}
