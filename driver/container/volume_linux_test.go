package container

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

func TestFacts(t *testing.T) {
	b := open(t)
	host, _ := os.Hostname()
	all := "name=" + engine.StandInName + " uid=" + engine.StandInUID + " ip=" + engine.StandInIP + " host=" + engine.StandInHostName + " at=" + engine.StandInHostIP
	s := pod(engine.Container{Image: served(t), Args: []string{"serve", "--id=" + engine.StandInName}, Env: map[string]string{"ALL": all}, Mounts: []engine.Mount{{Volume: "facts", Path: "/facts"}}})
	s.Pod.Volumes = []engine.Volume{{Name: "facts", Files: []engine.VolumeFile{{Path: "all", Data: []byte(all), Late: true}, {Path: "raw", Data: []byte(all)}}}}
	uids := map[string]bool{}
	for _, network := range []string{"", "host"} {
		if s.Network = network; network == "host" {
			s.Pod.Port = freePort(t) // others are there as well
		}
		in := b.start(t, s)
		got := ask(t, in, "/?env=ALL")
		m := regexp.MustCompile(`^name=(\S+) uid=([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}) ip=(\S+) host=(\S*) at=(\S+)$`).FindStringSubmatch(got)
		if m == nil || m[1] != in.ID() || uids[m[2]] || m[4] != host || net.ParseIP(m[3]) == nil || net.ParseIP(m[5]) == nil || (m[3] == m[5]) != (network == "host") {
			t.Errorf("%q in network %q", got, network)
			continue
		}
		uids[m[2]] = true
		if file := ask(t, in, "/?read=/facts/all"); file != got {
			t.Errorf("the file says %q, the variable %q", file, got)
		}
		if raw := ask(t, in, "/?read=/facts/raw"); raw != all {
			t.Errorf("a file that is not late says %q", raw)
		}
		if args := ask(t, in, "/?args"); !strings.Contains(args, `"--id=`+in.ID()+`"`) {
			t.Errorf("its arguments are %s", args)
		}
		if network == "" { // the address is its own
			if got := ask(t, in, "/?dial="+net.JoinHostPort(m[3], "8080")); got != "connected" {
				t.Errorf("its address %s: %s", m[3], got)
			}
		}
		in.Stop(t.Context())
	}
}

func TestRenewal(t *testing.T) {
	b := open(t)
	turn, next := make(chan error), 0
	s := pod(engine.Container{Image: served(t), Mounts: []engine.Mount{{Volume: "v", Path: "/v"}}})
	s.Pod.Volumes = []engine.Volume{{Name: "v", Files: []engine.VolumeFile{{Path: "fixed", Data: []byte("f")}},
		Renew: func(ctx context.Context) ([]engine.VolumeFile, time.Time, error) {
			if next++; next > 1 {
				select {
				case err := <-turn:
					if err != nil {
						return nil, time.Time{}, err
					}
				case <-ctx.Done():
					return nil, time.Time{}, ctx.Err()
				}
			}
			return []engine.VolumeFile{{Path: "sub/token", Data: fmt.Appendf(nil, "%s %d", engine.StandInName, next), Late: true, Mode: 0o440}}, time.Now(), nil
		}}}
	in := b.start(t, s)
	for n := 1; n < 4; n++ {
		want := fmt.Sprintf("%s %d", in.ID(), n)
		for deadline := time.Now().Add(patience); ; {
			got := ask(t, in, "/?read=/v/sub/token")
			if got == want {
				break
			}
			if n > 1 && got != fmt.Sprintf("%s %d", in.ID(), n-1) || time.Now().After(deadline) { // never anything between
				t.Fatalf("the token is %q, want %q", got, want)
			}
		}
		if got := ask(t, in, "/?list=/v") + ask(t, in, "/?list=/v/sub") + ask(t, in, "/?stat=/v/sub/token") + ask(t, in, "/?write=/v/sub/token"); got != "fixed sub token -r--r-----open /v/sub/token: read-only file system" {
			t.Error(got)
		}
		select {
		case turn <- nil:
		case <-time.After(patience):
			t.Fatal("it is not renewed")
		}
	}
	in.Stop(t.Context()) // while it waits for the next

	refuse := errors.New("no token for you")
	s.Pod.Volumes[0].Renew = func(context.Context) ([]engine.VolumeFile, time.Time, error) { return nil, time.Time{}, refuse }
	if in, err := b.Start(t.Context(), s); !errors.Is(err, refuse) {
		t.Errorf("%v, %v", in, err)
	}
	if n := b.alive(); n != 0 {
		t.Errorf("%d instances are alive", n)
	}
}

// freePort is a port of the host below those the kernel gives to anybody.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 10_000 + rand.IntN(20_000)
		if l, err := net.Listen("tcp", fmt.Sprint(":", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
