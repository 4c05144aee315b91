package portmap

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of what a gateway may say.
const (
	maxDescription = 256 << 10 // bytes of the description of a device
	maxSOAP        = 64 << 10  // bytes of an answer
	maxDepth       = 32        // of elements in one another
	maxServices    = 16
	maxValues      = 64
	maxValue       = 1 << 10 // bytes
)

var errXML = errors.New("malformed document of the gateway")

// wanService is a service of a gateway that maps ports.
type wanService struct {
	kind    string // its URN
	control string // URL as written, often relative
}

// wanKinds are the services that can map ports, the better first.
var wanKinds = []string{
	"urn:schemas-upnp-org:service:WANIPConnection:2",
	"urn:schemas-upnp-org:service:WANIPConnection:1",
	"urn:schemas-upnp-org:service:WANPPPConnection:1",
}

// leaf is an element with text alone, and the elements around it.
type leaf struct {
	path []string
	text string
}

func (l *leaf) name() string { return l.path[len(l.path)-1] }

// leaves hands over the leaves of an XML document in order.
func leaves(b []byte, each func(leaf) error) error {
	d := xml.NewDecoder(bytes.NewReader(b))
	d.Strict = false
	// Whatever the charset is called, all that is looked at is ASCII.
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	var path []string
	var text []byte
	isLeaf := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errXML, err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if len(path) == maxDepth {
				return fmt.Errorf("%w: elements %d deep", errXML, maxDepth)
			}
			path, text, isLeaf = append(path, t.Name.Local), text[:0], true
		case xml.CharData:
			if len(text)+len(t) <= maxValue {
				text = append(text, t...)
			}
		case xml.EndElement:
			if isLeaf {
				if err := each(leaf{path, strings.TrimSpace(string(text))}); err != nil {
					return err
				}
			}
			path, isLeaf = path[:max(len(path)-1, 0)], false
		}
	}
}

// parseDescription finds the services that map ports in the description of a device,
// the better first, and the URL that theirs are relative to where it names one.
func parseDescription(b []byte) (base string, services []wanService, err error) {
	if len(b) > maxDescription {
		return "", nil, fmt.Errorf("%w: more than %d bytes", errXML, maxDescription)
	}
	var found []wanService
	var s wanService
	err = leaves(b, func(l leaf) error {
		switch {
		case l.name() == "URLBase":
			base = l.text
		case len(l.path) < 2 || l.path[len(l.path)-2] != "service":
		case l.name() == "serviceType":
			s.kind = l.text
		case l.name() == "controlURL":
			s.control = l.text
		}
		if s.kind != "" && s.control != "" {
			if len(found) == maxServices {
				return fmt.Errorf("%w: more than %d services", errXML, maxServices)
			}
			found, s = append(found, s), wanService{}
		}
		return nil
	})
	for _, kind := range wanKinds {
		for _, s := range found {
			if s.kind == kind {
				services = append(services, s)
			}
		}
	}
	return base, services, err
}

// argument is one of an action.
type argument struct{ name, value string }

// appendSOAP appends the call of an action of a service.
func appendSOAP(b []byte, kind, action string, args []argument) []byte {
	w := bytes.NewBuffer(b)
	w.WriteString(xml.Header + `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>`)
	fmt.Fprintf(w, `<u:%s xmlns:u="%s">`, action, kind)
	for _, a := range args {
		fmt.Fprintf(w, "<%s>", a.name)
		_ = xml.EscapeText(w, []byte(a.value)) // a Buffer takes everything
		fmt.Fprintf(w, "</%s>", a.name)
	}
	fmt.Fprintf(w, `</u:%s></s:Body></s:Envelope>`, action)
	return w.Bytes()
}

// parseSOAP reads the values in the answer to an action, or the code of the error.
func parseSOAP(b []byte) (values map[string]string, fault string, err error) {
	if len(b) > maxSOAP {
		return nil, "", fmt.Errorf("%w: more than %d bytes", errXML, maxSOAP)
	}
	values = map[string]string{}
	err = leaves(b, func(l leaf) error {
		if _, ok := values[l.name()]; !ok && len(values) < maxValues {
			values[l.name()] = l.text
		}
		return nil
	})
	return values, values["errorCode"], err
}
