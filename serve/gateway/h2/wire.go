package h2

import (
	"encoding/binary"
	"fmt"
)

// Preface begins a client's connection.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Types of frames.
const (
	frameData         = 0
	frameHeaders      = 1
	framePriority     = 2
	frameReset        = 3
	frameSettings     = 4
	framePush         = 5
	framePing         = 6
	frameGoAway       = 7
	frameWindow       = 8
	frameContinuation = 9
)

// Flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings.
const (
	settingTableSize     = 1
	settingPush          = 2
	settingMaxStreams    = 3
	settingInitialWindow = 4
	settingMaxFrame      = 5
	settingMaxHeader     = 6
)

const (
	headSize     = 9
	maxFrame     = 16 << 10 // of what is read: the least the protocol allows; of what is written, at most
	maxWindow    = 1<<31 - 1
	firstWindow  = 65535 // of both sides, until they say something else
	tableSize    = 4096  // of field tables
	maxPending   = 256 << 10
	maxFieldsOut = 64 << 10
)

// code is why a stream or a connection ended.
type code uint32

const (
	codeNo          code = 0
	codeProtocol    code = 1
	codeInternal    code = 2
	codeFlow        code = 3
	codeClosed      code = 5
	codeFrameSize   code = 6
	codeRefused     code = 7
	codeCancel      code = 8
	codeCompression code = 9
	codeCalm        code = 11
)

func (c code) String() string {
	names := [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
		"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("error code %d", uint32(c))
}

// connError ends a connection.
type connError struct {
	code code
	why  string
}

func (e *connError) Error() string { return "http2: " + e.code.String() + ": " + e.why }

func broken(c code, format string, args ...any) error {
	return &connError{c, fmt.Sprintf(format, args...)}
}

// frameHead is the head of a frame.
type frameHead struct {
	length int
	kind   byte
	flags  byte
	stream uint32
}

func (h frameHead) has(flag byte) bool { return h.flags&flag != 0 }

func parseHead(b []byte) frameHead {
	return frameHead{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), kind: b[3], flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) &^ (1 << 31),
	}
}

func appendHead(b []byte, length int, kind, flags byte, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), kind, flags)
	return binary.BigEndian.AppendUint32(b, stream)
}

func appendWindow(b []byte, stream uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendHead(b, 4, frameWindow, 0, stream), uint32(n))
}

func appendReset(b []byte, stream uint32, c code) []byte {
	return binary.BigEndian.AppendUint32(appendHead(b, 4, frameReset, 0, stream), uint32(c))
}

func appendSettings(b []byte, pairs ...uint32) []byte {
	b = appendHead(b, len(pairs)/2*6, frameSettings, 0, 0)
	for i := 0; i < len(pairs); i += 2 {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(pairs[i])), pairs[i+1])
	}
	return b
}

func appendGoAway(b []byte, last uint32, c code, why string) []byte {
	b = appendHead(b, 8+len(why), frameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, last), uint32(c))
	return append(b, why...)
}

// unpad takes padding off a payload.
func unpad(h frameHead, p []byte) ([]byte, error) {
	if !h.has(flagPadded) {
		return p, nil
	}
	if len(p) == 0 || int(p[0]) > len(p)-1 {
		return nil, broken(codeProtocol, "a frame with more padding than payload")
	}
	return p[1 : len(p)-int(p[0])], nil
}
