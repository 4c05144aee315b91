package gateway

import (
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	cases := map[string]string{ // "" is refused
		"/https/cdn.example/a/b?c=d":                 "https://cdn.example/a/b?c=d",
		"/http/cdn.example:8080/":                    "http://cdn.example:8080/",
		"/https/CDN.Example:443/A":                   "https://cdn.example/A",
		"/http/h:80/x":                               "http://h/x",
		"/http/h:443/x":                              "http://h:443/x",
		"/https/cdn.example":                         "https://cdn.example/",
		"/https/cdn.example?x":                       "https://cdn.example/?x",
		"/https/h//a/../b":                           "https://h//b",
		"/https/h/./a/.b/..c?../d":                   "https://h/a/.b/..c?../d",
		"/https/h/../../http/g/a":                    "https://h/http/g/a",
		"/https/h/%2e%2e/a%2Fb/./c":                  "https://h/%2e%2e/a%2Fb/c",
		"/https/h/a%2Fb%20c%E2%82%AC":                "https://h/a%2Fb%20c%E2%82%AC",
		"/https/h/a?u=http://x/%2f#":                 "",
		"/https/h/a;b=c,d@e:f":                       "https://h/a;b=c,d@e:f",
		"/https/[2001:DB8::1]:8443/x":                "https://[2001:db8::1]:8443/x",
		"/https/xn--bcher-kva.example/":              "https://xn--bcher-kva.example/",
		"/http/127.0.0.1:8080/x":                     "http://127.0.0.1:8080/x", // the policy's affair
		"":                                           "",
		"/":                                          "",
		"/https":                                     "",
		"/https/":                                    "",
		"/https//a":                                  "",
		"https/h/a":                                  "",
		"//https/h/a":                                "",
		"/HTTPS/h/a":                                 "",
		"/file/h/etc/passwd":                         "",
		"/ftp/h/a":                                   "",
		"/gopher/h/a":                                "",
		"/javascript/h/a":                            "",
		"/https:/h/a":                                "",
		"/https://h/a":                               "",
		"/https/user@h/a":                            "",
		"/https/user:pw@h/a":                         "",
		"/https/good.example@127.0.0.1/a":            "",
		"/https/good.example:80@127.0.0.1/a":         "",
		`/https/good.example\@127.0.0.1/a`:           "",
		"/https/good.example%2F@127.0.0.1/a":         "",
		"/https/good.example%00.evil/a":              "",
		"/https/127.0.0.1%2Fa":                       "",
		"/https/h%3A80/a":                            "",
		"/https/h:0/a":                               "",
		"/https/h:/a":                                "",
		"/https/h:65536/a":                           "",
		"/https/h:080/a":                             "",
		"/https/h:+80/a":                             "",
		"/https/h:80:81/a":                           "",
		"/https/h:http/a":                            "",
		"/https/2130706433/a":                        "", // 127.0.0.1 to inet_aton
		"/https/0x7f000001/a":                        "",
		"/https/0x7f.0.0.1/a":                        "",
		"/https/0177.0.0.1/a":                        "",
		"/https/127.1/a":                             "",
		"/https/127.0.0.1./a":                        "",
		"/https/127.0.0.01/a":                        "",
		"/https/1.2.3.4.5/a":                         "",
		"/https/127.0.0.0x1/a":                       "",
		"/https/localhost./a":                        "",
		"/https/a..b/a":                              "",
		"/https/.h/a":                                "",
		"/https/-h/a":                                "",
		"/https/ⓛocalhost/a":                         "",
		"/https/１２７.0.0.1/a":                         "",
		"/https/h\u3002example/a":                    "",
		"/https/::1/a":                               "",
		"/https/[::1/a":                              "",
		"/https/::1]/a":                              "",
		"/https/[::1]x/a":                            "",
		"/https/[::1%25lo]/a":                        "",
		"/https/[fe80::1%eth0]/a":                    "",
		"/https/[127.0.0.1]/a":                       "",
		"/https/[::ffff:127.0.0.1]/a":                "https://[::ffff:127.0.0.1]/a", // the policy's affair, too
		"/https/h/a b":                               "",
		"/https/h/a\r\nX: y":                         "",
		"/https/h/\x00":                              "",
		"/https/h/%zz":                               "",
		"/https/h/" + strings.Repeat("a", 9000):      "",
		"/https/" + strings.Repeat("a.", 130) + "b/": "",
	}
	for in, want := range cases {
		u, err := parseTarget(in)
		got := ""
		if err == nil {
			got = u.String()
		}
		if got != want {
			t.Errorf("%.60q: %q, %v; want %q", in, got, err, want)
		}
		if err == nil && pathOf(u) == "" {
			t.Errorf("%q: the gateway would not take its own path", in)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{
		"/https/cdn.example/a?b", "/http/[::1]:80/x", "/https/user@h/", "/http/0x7f.1/", "/https/h:80/%2F..%2F", "/https/h", "/http/h\\@i/", "//h/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseTarget(s)
		if err != nil {
			return
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Opaque != "" || u.Hostname() == "" || u.Fragment != "" {
			t.Fatalf("%q is %#v", s, u)
		}
		// The host is what stands between the second slash and the next, whatever else
		// reads the URL.
		rest := strings.TrimPrefix(s, "/"+u.Scheme+"/")
		if host := rest[:strings.IndexAny(rest+"/", "/?")]; !strings.EqualFold(strings.TrimSuffix(host, ":"+defaultPort(u.Scheme)), u.Host) && !strings.HasPrefix(host, "[") {
			t.Fatalf("%q: host %q", s, u.Host)
		}
		again, err := parseTarget(pathOf(u))
		if err != nil || again.String() != u.String() {
			t.Fatalf("%q: %q, and again %v, %v", s, u, again, err)
		}
	})
}
