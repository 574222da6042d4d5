package gateway

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// isGRPC reports whether the caller speaks gRPC and so wants to hear of errors
// in its way: in trailers.
func (c *call) isGRPC() bool {
	t := first(c.r.Header, "Content-Type")
	return c.r.ProtoMajor == 2 && strings.HasPrefix(t, "application/grpc") && !strings.HasPrefix(t, "application/grpc-web")
}

// grpcCode is gRPC's number for an error of ours.
func grpcCode(e *api.Error) int {
	switch e.Code {
	case api.CodeCanceled:
		return 1
	case api.CodeUsage, api.CodeInvalid:
		return 3
	case api.CodeTimeout:
		return 4
	case api.CodeForbidden:
		return 7
	case api.CodeTooLarge, api.CodeQueueFull, api.CodeRateLimited:
		return 8
	case api.CodeNoRoute, api.CodeNotFound, api.CodeUnsupported:
		return 12
	case api.CodeInternal, api.CodeLoadFailed:
		return 13
	case api.CodeUnauthorized:
		return 16
	}
	return 14 // unavailable: another try may help
}

// grpcTimeout reads the time a caller gives: at most eight digits and a unit; 0:
// he gives none.
func grpcTimeout(s string) time.Duration {
	if len(s) < 2 || len(s) > 9 {
		return 0
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil {
		return 0
	}
	unit := time.Duration(0)
	switch s[len(s)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	}
	return time.Duration(min(n, 1<<62/uint64(max(unit, 1)))) * unit
}

// grpcFault reports whether a gRPC status says that the server, not the caller,
// is at fault.
func grpcFault(status string) bool {
	switch status {
	case "2", "4", "12", "13", "14", "15":
		return true
	}
	return false
}

// failGRPC answers with an error as gRPC does: only trailers, after a status of
// 200.
func (c *call) failGRPC(e *api.Error, message string) {
	h := c.w.Header()
	h.Set("Content-Type", first(c.r.Header, "Content-Type"))
	h.Set("Grpc-Status", strconv.Itoa(grpcCode(e)))
	h.Set("Grpc-Message", grpcMessage(message+" (request "+c.id+")"))
	c.w.WriteHeader(http.StatusOK)
}

// grpcMessage percent-encodes what is not printable ASCII.
func grpcMessage(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '%' {
			fmt.Fprintf(&b, "%%%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
