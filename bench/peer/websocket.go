package main

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net/http"
)

// echoSocket answers every frame with its payload, unmasked. It knows as much of
// the protocol as an echo needs: frames of less than 64 KiB.
func echoSocket(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	nc, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer nc.Close()
	io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
		base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	frame := make([]byte, 1<<16+8)
	for {
		head := frame[:2]
		if _, err := io.ReadFull(buf, head); err != nil || head[0]&0xf == 8 {
			return
		}
		n, answer := int(head[1]&0x7f), frame[:2]
		if n == 126 {
			if _, err := io.ReadFull(buf, frame[2:4]); err != nil {
				return
			}
			n, answer = int(binary.BigEndian.Uint16(frame[2:])), frame[:4]
		}
		var mask [4]byte
		if _, err := io.ReadFull(buf, mask[:]); err != nil {
			return
		}
		body := frame[len(answer) : len(answer)+n]
		if _, err := io.ReadFull(buf, body); err != nil {
			return
		}
		for i := range body {
			body[i] ^= mask[i&3]
		}
		frame[1] &= 0x7f
		if _, err := nc.Write(frame[:len(answer)+n]); err != nil {
			return
		}
	}
}
