package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"
	"unicode"
)

// fallbackName is the file of a URL that suggests no name, as in wget.
const fallbackName = "index.html"

// maxName bounds the names of files, in bytes; file systems allow 255, and the
// partial file's is longer.
const maxName = 200

// fileName is the name a download gets when none was given: the last element of
// the URL's path, as curl -O has it. Only where that says nothing, the server is
// asked for its Content-Disposition.
func fileName(ctx context.Context, rawURL string, header http.Header, ca string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return fallbackName
	}
	name := sanitise(path.Base(u.Path))
	if name != "" && u.RawQuery == "" {
		return name
	}
	if offered := offeredName(ctx, rawURL, header, ca); offered != "" {
		return offered
	}
	if name != "" {
		return name
	}
	return fallbackName
}

// offeredName is the file name of the Content-Disposition (RFC 6266), "" when
// there is none or the server does not answer: the download will say why.
func offeredName(ctx context.Context, rawURL string, header http.Header, ca string) string {
	client, err := httpClient(ca)
	if err != nil {
		return ""
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return ""
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Range", "bytes=0-0") // not HEAD: the URL may be signed for GET
	resp, err := client.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Disposition"))
	if err != nil || resp.StatusCode/100 != 2 {
		return ""
	}
	// Some servers send a whole path, of their own system's kind.
	return sanitise(path.Base(strings.ReplaceAll(params["filename"], `\`, "/")))
}

// sanitise makes a file name of what a stranger chose: no directory, nothing
// hidden, nothing that a shell, a terminal or Windows takes for something else.
// It returns "" when nothing is left.
func sanitise(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r == unicode.ReplacementChar, unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return -1
		case strings.ContainsRune(`/\:*?"<>|`, r):
			return '_'
		}
		return r
	}, name)
	name = strings.TrimLeft(name, ".- ")
	name = strings.TrimRight(name, ". ")
	for len(name) > maxName {
		r := []rune(name)
		// The extension matters more than the middle.
		half := len(r) / 2
		name = string(append(r[:half-1:half-1], r[half:]...))
	}
	if base, _, _ := strings.Cut(strings.ToUpper(name), "."); reserved(base) {
		name = "_" + name
	}
	if strings.Trim(name, "_") == "" {
		return ""
	}
	return name
}

// reserved reports whether Windows takes the name for a device.
func reserved(base string) bool {
	switch base {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	return len(base) == 4 && (base[:3] == "COM" || base[:3] == "LPT") && base[3] >= '1' && base[3] <= '9'
}

// httpClient is for the small requests of commands; ca may name a PEM file with
// certificates to trust beside the system's.
func httpClient(ca string) (*http.Client, error) {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("certificates to trust: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificates to trust: no PEM certificate in %s", ca)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: t, Timeout: 20 * time.Second}, nil
}
