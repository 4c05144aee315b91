package cache

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Many clients ask for random parts of an object whose origin breaks off at
// random and sometimes replaces it. What a client gets whole is a part of one
// version; what it does not get whole is cut off, visibly.
func TestRandomFaults(t *testing.T) {
	const size = 12*slice + 321
	objects := [][]byte{content(size, 60), content(size, 61), content(size, 62)}
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	current := 0
	l := newLab(t, nil, func(c *Config) { c.Linger = 5 * time.Millisecond; c.MaxBytes = 40 * slice })
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		i := current
		mu.Unlock()
		if draw(3) == 0 {
			w = &breaking{ResponseWriter: w, left: draw(size)}
		}
		l.object(objects[i], `"`+strconv.Itoa(i)+`"`, "Cache-Control", "max-age=1")(w, r)
	})
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 40 {
				from := draw(size)
				end := from + 1 + draw(size-from)
				a, err := l.try("GET", "/o"+strconv.Itoa(draw(3)), "Range", rangeOf(from, end))
				if err != nil || a.StatusCode >= 500 {
					continue // cut off, or refused: seen as such
				}
				tag, terr := strconv.Atoi(strings.Trim(a.Header.Get("ETag"), `"`))
				if terr != nil || a.body != string(objects[tag][from:end]) {
					t.Errorf("%s [%d,%d) of version %s: %d bytes are not its", a.Status, from, end, a.Header.Get("ETag"), len(a.body))
				}
				if draw(20) == 0 {
					l.clock.advance(2 * time.Second)
					mu.Lock()
					current = (current + 1) % len(objects)
					mu.Unlock()
				}
				if draw(30) == 0 {
					if _, err := l.cache.Purge("/o*"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "the fills to end", func() bool {
		bytes, _ := l.cache.Usage()
		return bytes <= 40*slice
	})
	for i := range 3 {
		var a answer
		eventually(t, "a whole object", func() bool {
			var err error
			a, err = l.try("GET", "/o"+strconv.Itoa(i))
			return err == nil && a.StatusCode == 200
		})
		if a.Header.Get("ETag") == `"`+strconv.Itoa(current)+`"` && a.body != string(objects[current]) {
			t.Errorf("object %d is wrong at the end", i)
		}
	}
}

// breaking ends the response after some bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) > b.left {
		b.ResponseWriter.Write(p[:b.left])
		http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	b.left -= len(p)
	return b.ResponseWriter.Write(p)
}
