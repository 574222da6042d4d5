package lazy

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Date is the time as the header Date has it, written once a second. Its zero
// value is ready for use.
type Date struct{ last atomic.Pointer[second] }

type second struct {
	unix int64
	text string
}

// Now returns the time of the call.
func (d *Date) Now() string {
	now := time.Now()
	s := d.last.Load()
	if s == nil || s.unix != now.Unix() {
		s = &second{now.Unix(), now.UTC().Format(http.TimeFormat)}
		d.last.Store(s)
	}
	return s.text
}
