package sql

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/keyfile"
)

// KeyFile returns a Sealer with the key in the file path, which is made (mode
// 0600) when it is missing and refused when others can reach it. Values are
// sealed with AES-256 in Galois/counter mode under a random nonce each.
func KeyFile(path string) (Sealer, error) {
	key, err := keyfile.Load(path)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return gcmSealer{gcm}, nil
}

// sealVersion is the first byte of what is sealed: then nonce and cipher text.
const sealVersion = 1

type gcmSealer struct{ gcm cipher.AEAD }

// Seal implements Sealer.
func (s gcmSealer) Seal(plain []byte) ([]byte, error) {
	head := 1 + s.gcm.NonceSize()
	out := make([]byte, head, head+len(plain)+s.gcm.Overhead())
	out[0] = sealVersion
	rand.Read(out[1:])
	return s.gcm.Seal(out, out[1:], plain, out[:1]), nil
}

// Open implements Sealer.
func (s gcmSealer) Open(sealed []byte) ([]byte, error) {
	head := 1 + s.gcm.NonceSize()
	if len(sealed) < head || sealed[0] != sealVersion {
		return nil, errSealed()
	}
	plain, err := s.gcm.Open(nil, sealed[1:head], sealed[head:], sealed[:1])
	if err != nil {
		return nil, errSealed().WithCause(err)
	}
	return plain, nil
}

func errSealed() *api.Error {
	return api.Errorf(api.CodeInternal, "a secret cannot be opened: it is damaged, or was sealed with another key").
		WithHint("put the key file of the state folder back, or write the secret again")
}
