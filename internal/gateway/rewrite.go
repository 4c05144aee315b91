package gateway

import "net/url"

// rewrite puts f(URL) for every absolute reference of a playlist that came from base.
func rewrite(_ *url.URL, _ string, text []byte, _ func(*url.URL) string) ([]byte, error) {
	return text, nil
}
