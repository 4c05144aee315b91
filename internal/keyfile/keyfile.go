// Package keyfile keeps an Ed25519 private key in a PEM file (PKCS #8, RFC 8410),
// the form that OpenSSL reads and writes.
package keyfile

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	pemType = "PRIVATE KEY"
	// maxFile bounds what is read: a key file has some 120 bytes.
	maxFile = 64 << 10
)

// LoadOrCreate reads the key at path, or makes one there that only the owner
// can read, together with the directories above it. It reports whether it was
// made. Of several processes that start at once all get the same key.
func LoadOrCreate(path string) (key ed25519.PrivateKey, created bool, err error) {
	key, err = Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	if key, err = create(path); err == nil {
		return key, true, nil
	}
	if errors.Is(err, fs.ErrExist) {
		key, err = Load(path)
	}
	return key, false, err
}

// Load reads the key at path.
func Load(path string) (ed25519.PrivateKey, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if fi.Size() > maxFile {
		return nil, fmt.Errorf("key %s: %d bytes are no key file", path, fi.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	key, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", path, err)
	}
	return key, nil
}

// Parse reads the first private key in PEM text.
func Parse(b []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != pemType {
		return nil, fmt.Errorf("no PEM block %q: want an Ed25519 key in PKCS #8 form, as `openssl genpkey -algorithm ed25519` makes", pemType)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse PKCS #8: %w", err)
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key is a %T, want Ed25519", k)
	}
	return key, nil
}

// Format writes the key as PEM text.
func Format(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("format key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// create writes a new key to a temporary file and links it to path, so that
// nobody ever reads half a key and an existing one is never replaced.
func create(path string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	text, err := Format(key)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	// CreateTemp makes files with mode 0600.
	tmp, err := os.CreateTemp(dir, ".key-*")
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return nil, fmt.Errorf("make key %s: %w", path, err)
	}
	err = os.Link(tmp.Name(), path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(tmp.Name(), path) // a file system without links
	}
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", path, err)
	}
	return key, nil
}
