package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const good = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    x_test.go:5: needs root\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB","Elapsed":0}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.002s\n"}
{"Action":"pass","Package":"p","Elapsed":0.002}
`

const bad = `{"Action":"output","Package":"q","Test":"TestC","Output":"=== RUN   TestC\n"}
{"Action":"output","Package":"q","Test":"TestC","Output":"    c_test.go:9: 1 is not 2\n"}
{"Action":"output","Package":"q","Test":"TestC","Output":"--- FAIL: TestC (0.00s)\n"}
{"Action":"fail","Package":"q","Test":"TestC"}
{"Action":"output","Package":"q","Output":"FAIL\n"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.002s\n"}
{"Action":"fail","Package":"q"}
{"ImportPath":"r","Action":"build-output","Output":"r.go:1: no\n"}
{"ImportPath":"r","Action":"build-fail"}
{"Action":"output","Package":"r","Output":"FAIL\tr [build failed]\n"}
{"Action":"fail","Package":"r","FailedBuild":"r"}
`

const panicked = `{"Action":"output","Package":"s","Test":"TestD","Output":"=== RUN   TestD\n"}
{"Action":"output","Package":"s","Test":"TestD","Output":"panic: test timed out\n"}
{"Action":"output","Package":"s","Output":"FAIL\ts\t9s\n"}
{"Action":"fail","Package":"s"}
`

func TestSummarise(t *testing.T) {
	cases := []struct {
		name, in, want string
		ok             bool
	}{
		{"passes", good, `ok  	p	0.002s

1 passed, 0 failed, 1 skipped in 1 packages
  skipped p TestB: needs root
`, true},
		{"failures", good + bad, `ok  	p	0.002s
    c_test.go:9: 1 is not 2
--- FAIL: TestC (0.00s)
FAIL	q	0.002s
r.go:1: no
FAIL	r [build failed]

1 passed, 1 failed, 1 skipped in 3 packages
  skipped p TestB: needs root
  FAILED  q
  FAILED  q TestC
  FAILED  r
`, false},
		{"panic", panicked, `FAIL	s	9s
panic: test timed out

0 passed, 1 failed, 0 skipped in 1 packages
  FAILED  s
  FAILED  s TestD: it did not end
`, false},
		{"nothing ran", "no packages to test\n", "no packages to test\n\n0 passed, 0 failed, 0 skipped in 0 packages\n", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			ok, err := summarise(strings.NewReader(c.in), &out)
			if err != nil || ok != c.ok {
				t.Errorf("ok %v, error %v; want ok %v", ok, err, c.ok)
			}
			if d := cmp.Diff(c.want, out.String()); d != "" {
				t.Error(d)
			}
		})
	}
}
