package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// ready is section f: a fresh state folder in every round, and one that keeps
// 100 functions.
func (b *bench) ready() error {
	s, err := b.start("kept")
	if err != nil {
		return err
	}
	var all []function
	for i := range 100 {
		all = append(all, function{name: fmt.Sprintf("f-%d", i), runtime: "node", code: fmt.Sprintf("%s// %d\n", codes[0].code, i), idle: time.Second})
	}
	err = s.deploy(all)
	s.stop()
	if err != nil {
		return err
	}
	var fresh, kept, called []time.Duration
	for i := range b.rounds {
		name := fmt.Sprintf("fresh-%d", i)
		d, _, err := b.untilReady(name, "")
		if err != nil {
			return err
		}
		os.RemoveAll(filepath.Join(b.dir, name))
		fresh = append(fresh, d)
		d, c, err := b.untilReady("kept", fmt.Sprintf("f-%d", i))
		if err != nil {
			return err
		}
		b.detail("fresh %.0f ms, kept %.0f ms, kept function answered %.0f ms", ms(fresh[i]), ms(d), ms(c))
		kept, called = append(kept, d), append(called, c)
	}
	for _, x := range []struct {
		what string
		all  []time.Duration
	}{{"fresh state", fresh}, {"state with 100 functions", kept}} {
		m := median(x.all)
		r := row{what: x.what, hearth: fmt.Sprintf("%.0f ms", ms(m))}
		r.atMost(m.Seconds(), 0.5)
		r.target += " s"
		b.report.add(r)
	}
	b.report.add(row{what: "… and one of the functions has answered", hearth: fmt.Sprintf("%.0f ms", ms(median(called)))})
	return nil
}

// untilReady starts hearth on ports known before and asks until gateway and API
// have answered, whatever they answer; then, if a function is named, until it
// has answered with success.
func (b *bench) untilReady(state, function string) (ready, called time.Duration, err error) {
	gateway, err := freePort()
	if err != nil {
		return 0, 0, err
	}
	control, err := freePort()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	s, err := b.up(state, "--gateway-port", gateway, "--api-port", control)
	if err != nil {
		return 0, 0, err
	}
	defer s.stop()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	ask := func(url, host string, want int) error {
		for {
			r, err := http.NewRequestWithContext(b.ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			r.Host = host
			if a, err := c.Do(r); err == nil {
				a.Body.Close()
				if want == 0 || a.StatusCode == want {
					return nil
				}
			}
			select {
			case <-s.ended:
				return fmt.Errorf("hearth up ended: %s", s.stderr.String())
			default:
			}
			if time.Since(begin) > 30*time.Second {
				return fmt.Errorf("%s did not answer within 30 s", url)
			}
			if err := b.pause(time.Millisecond); err != nil {
				return err
			}
		}
	}
	if err := ask("http://127.0.0.1:"+gateway+"/", "nothing.localhost", 0); err != nil {
		return 0, 0, err
	}
	if err := ask("https://127.0.0.1:"+control+"/hearth/v1/status", "localhost", 0); err != nil {
		return 0, 0, err
	}
	ready = time.Since(begin)
	if function != "" {
		if err := ask("http://127.0.0.1:"+gateway+"/", function+".localhost", http.StatusOK); err != nil {
			return 0, 0, err
		}
		called = time.Since(begin)
	}
	return ready, called, nil
}
