package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Lives of certificates. A CA is replaced only when it nears its end, because
// kubeconfigs hold it; server certificates often.
const (
	caLife     = 10 * 365 * 24 * time.Hour
	caRenew    = 90 * 24 * time.Hour // before its end
	certLife   = 90 * 24 * time.Hour
	certRenew  = 30 * 24 * time.Hour
	clockSkew  = time.Hour
	fileCA     = "ca.crt"
	fileCAKey  = "ca.key"
	permSecret = 0o600
)

// Authority is a certificate authority of its own, kept in a folder, and the
// server certificate it issues for this machine's loopback names. It is safe
// for concurrent use.
type Authority struct {
	caPEM []byte
	ca    *x509.Certificate
	key   *ecdsa.PrivateKey
	names []string
	ips   []net.IP

	mu   sync.Mutex
	cert *tls.Certificate
}

// OpenAuthority reads the authority kept in dir, or makes one; the folder gets
// mode 0700 and its files 0600. names are host names and addresses the server
// answers to besides localhost, 127.0.0.1 and ::1. An authority that is damaged,
// or within 90 days of its end, is replaced; kubeconfigs must then be written
// anew.
func OpenAuthority(dir string, names ...string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the certificate authority: %w", err)
	}
	a := &Authority{names: []string{"localhost"}, ips: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			a.ips = append(a.ips, ip)
		} else {
			a.names = append(a.names, n)
		}
	}
	err := a.read(dir)
	if err != nil && !errors.Is(err, errNoAuthority) {
		return nil, err
	}
	if err != nil {
		if err := a.make(dir); err != nil {
			return nil, err
		}
	}
	if _, err := a.certificate(); err != nil {
		return nil, err
	}
	return a, nil
}

var errNoAuthority = errors.New("no usable certificate authority")

func (a *Authority) read(dir string) error {
	crt, err := os.ReadFile(filepath.Join(dir, fileCA))
	if errors.Is(err, fs.ErrNotExist) {
		return errNoAuthority
	}
	if err != nil {
		return fmt.Errorf("read the certificate authority: %w", err)
	}
	keyFile := filepath.Join(dir, fileCAKey)
	key, err := os.ReadFile(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return errNoAuthority
	}
	if err != nil {
		return fmt.Errorf("read the certificate authority: %w", err)
	}
	if err := os.Chmod(keyFile, permSecret); err != nil {
		return fmt.Errorf("protect the key of the certificate authority: %w", err)
	}
	cb, _ := pem.Decode(crt)
	kb, _ := pem.Decode(key)
	if cb == nil || kb == nil {
		return errNoAuthority
	}
	ca, err := x509.ParseCertificate(cb.Bytes)
	if err != nil {
		return errNoAuthority
	}
	k, err := x509.ParseECPrivateKey(kb.Bytes)
	if err != nil || !k.PublicKey.Equal(ca.PublicKey) || time.Until(ca.NotAfter) < caRenew {
		return errNoAuthority
	}
	a.caPEM, a.ca, a.key = crt, ca, k
	return nil
}

func (a *Authority) make(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "hearth " + serial.Text(36)[:8]},
		NotBefore: time.Now().Add(-clockSkew), NotAfter: time.Now().Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("make the certificate authority: %w", err)
	}
	if a.ca, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("make the certificate authority: %w", err)
	}
	kd, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	a.key = key
	a.caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	// The certificate comes last: without it the key is made anew.
	if err := writeSecret(filepath.Join(dir, fileCAKey), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kd})); err != nil {
		return err
	}
	return writeSecret(filepath.Join(dir, fileCA), a.caPEM)
}

// writeSecret replaces a file in one step, readable by its owner only.
func writeSecret(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it has no use
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return n.Add(n, new(big.Int).Lsh(big.NewInt(1), 120)), nil // of one length
}

// CA is the authority's certificate in PEM, for clients to trust.
func (a *Authority) CA() []byte { return append([]byte(nil), a.caPEM...) }

// TLS is what a listener needs. Its certificate is renewed while it serves.
func (a *Authority) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.certificate() },
	}
}

// certificate is the current server certificate, a new one when the old nears
// its end. Its key lives in memory only.
func (a *Authority) certificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cert != nil && time.Until(a.cert.Leaf.NotAfter) > certRenew {
		return a.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "hearth api"}, DNSNames: a.names, IPAddresses: a.ips,
		NotBefore: time.Now().Add(-clockSkew), NotAfter: time.Now().Add(certLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.ca, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("make the server certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the server certificate: %w", err)
	}
	a.cert = &tls.Certificate{Certificate: [][]byte{der, a.ca.Raw}, PrivateKey: key, Leaf: leaf}
	return a.cert, nil
}
