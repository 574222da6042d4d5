package gateway

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(&api.RateLimit{Requests: 10, Per: &api.Duration{Duration: time.Second}, Burst: 3, By: "client"})
		from := func(addr string) *call {
			return &call{g: &Gateway{}, r: &http.Request{RemoteAddr: addr}}
		}
		for i := range 3 {
			if w := l.take(from("10.0.0.1:5")); w != 0 {
				t.Errorf("call %d of a burst waits %s", i, w)
			}
		}
		if w := l.take(from("10.0.0.1:6")); w != 100*time.Millisecond {
			t.Errorf("one too many waits %s", w)
		}
		if w := l.take(from("10.0.0.2:5")); w != 0 {
			t.Errorf("another client waits %s", w)
		}
		if a, b := l.take(from("[2001:db8::1]:5")), l.take(from("[2001:db8::2]:5")); a != 0 || b != 0 || l.take(from("[2001:db8::3]:5")) != 0 || l.take(from("[2001:db8::4]:5")) == 0 {
			t.Error("one network of IPv6 is one client")
		}
		allowed := 0
		for range 2000 { // 20 seconds at ten times the rate
			time.Sleep(10 * time.Millisecond)
			if l.take(from("10.0.0.1:5")) == 0 {
				allowed++
			}
		}
		if allowed != 200 {
			t.Errorf("%d of 2000 calls in 20 s are allowed at 10 per second", allowed)
		}
		for i := range 200_000 { // each but once
			l.take(from(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255)))
		}
		kept := 0
		for i := range l.parts {
			kept += len(l.parts[i].due)
		}
		if kept > limitShards*limitPerPart {
			t.Errorf("%d callers are remembered", kept)
		}
	})
}
