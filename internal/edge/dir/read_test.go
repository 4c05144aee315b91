package dir

import (
	"errors"
	"io/fs"
	"testing"
)

func TestRead(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, map[string][]byte{"a.m3u8": []byte("bytes"), "d/x": nil, ".hidden": nil})
	d := open(t, Config{Path: tmp})
	v, b, err := d.Read("/a.m3u8", 5)
	if err != nil || string(b) != "bytes" {
		t.Fatalf("%q, %v", b, err)
	}
	if now, err := d.Lookup("/a.m3u8"); err != nil || now.ETag != v.ETag || v.Size != 5 {
		t.Errorf("%+v, and it is %+v", v, now)
	}
	if _, _, err := d.Read("/a.m3u8", 4); err == nil {
		t.Error("more than the bound")
	}
	for _, path := range []string{"/none", "/d", "/.hidden", "/../a.m3u8", ""} {
		if _, _, err := d.Read(path, 10); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
