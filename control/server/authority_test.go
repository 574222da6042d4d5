package server_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hearth-run/hearth/control/server"
)

func open(t *testing.T, dir string, names ...string) *server.Authority {
	t.Helper()
	a, err := server.OpenAuthority(dir, names...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// leaf is the certificate a client gets that trusts ca and asks for name.
func leaf(t *testing.T, a *server.Authority, ca []byte, name string) (*x509.Certificate, error) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c, s := net.Pipe()
	defer c.Close()
	defer s.Close()
	srv := tls.Server(s, a.TLS())
	go func() { _ = srv.Handshake() }() // the client says what went wrong
	cl := tls.Client(c, &tls.Config{RootCAs: pool, ServerName: name})
	if err := cl.Handshake(); err != nil {
		return nil, err
	}
	return cl.ConnectionState().PeerCertificates[0], nil
}

func TestAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a := open(t, dir, "hearth.lan", "192.0.2.7")
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "hearth.lan", "192.0.2.7"} {
		crt, err := leaf(t, a, a.CA(), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := time.Until(crt.NotAfter); d < 30*24*time.Hour {
			t.Errorf("%s: valid for %v", name, d)
		}
	}
	if _, err := leaf(t, a, a.CA(), "example.com"); err == nil {
		t.Error("a foreign name is accepted")
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Fatalf("%v %v", files, err)
	}
	for _, f := range files {
		if i, err := f.Info(); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f.Name(), i.Mode(), err)
		}
	}
	if i, err := os.Stat(dir); err != nil || i.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v %v", i.Mode(), err)
	}
	// It survives a restart, and a key that became readable is closed again.
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir)
	if !bytes.Equal(a.CA(), b.CA()) {
		t.Error("a restart made another authority")
	}
	if i, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v %v", i.Mode(), err)
	}
	if _, err := leaf(t, b, a.CA(), "localhost"); err != nil {
		t.Error(err)
	}
	// Damage leads to a new one, not to a server that does not start.
	for _, f := range []string{"ca.crt", "ca.key"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := open(t, dir)
		if bytes.Equal(a.CA(), c.CA()) {
			t.Errorf("damage of %s went unseen", f)
		}
		a = c
	}
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	if _, err := leaf(t, open(t, dir), open(t, dir).CA(), "localhost"); err != nil {
		t.Error(err)
	}
}

func TestKubeconfig(t *testing.T) {
	var o m
	if err := json.Unmarshal(server.Kubeconfig("https://127.0.0.1:4000", []byte("PEM"), "tok", "shop"), &o); err != nil {
		t.Fatal(err)
	}
	if at(o, "clusters", 0, "cluster", "certificate-authority-data") != "UEVN" || at(o, "users", 0, "user", "token") != "tok" ||
		at(o, "contexts", 0, "context", "namespace") != "shop" || o["current-context"] != "hearth" {
		t.Errorf("got %v", o)
	}
}
