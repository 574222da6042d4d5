package container

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/hearth-run/hearth/core/engine"
)

// filled is s with facts about the instance in place of stand-ins.
func (i *instance) filled(s string) string {
	if !strings.Contains(s, "\x00") {
		return s
	}
	i.findFacts.Do(func() {
		host, _ := os.Hostname()
		own, outer := i.shared.Addresses()
		if !outer.IsValid() { // the network is the host's, or there is none
			outer = machineAddress()
			own = outer
		}
		var u [16]byte
		rand.Read(u[:])
		u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
		i.facts = strings.NewReplacer(
			engine.StandInName, i.id, engine.StandInUID, fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]),
			engine.StandInIP, own.String(), engine.StandInHostIP, outer.String(), engine.StandInHostName, host,
		)
	})
	return i.facts.Replace(s)
}

// machineAddress is the first address of this machine that others reach it by;
// that of loopback where it has none.
func machineAddress() netip.Addr {
	list, _ := net.InterfaceAddrs()
	var six netip.Addr
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().IsGlobalUnicast() {
			continue
		}
		if p.Addr().Is4() {
			return p.Addr()
		}
		if !six.IsValid() {
			six = p.Addr()
		}
	}
	if six.IsValid() {
		return six
	}
	return netip.MustParseAddr("127.0.0.1")
}
