// Package geo tells the country and the autonomous system of an IP address from
// MaxMind DB files, which the operator provides: none is shipped. Both shapes in
// use are read: flat {"country_code": "NL"} and MaxMind's country.iso_code.
package geo

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// DB answers lookups. The zero value knows nothing about any address. Lookups
// are safe for concurrent use.
type DB struct {
	country, asn *maxminddb.Reader
}

// Open reads the files; an empty path leaves that fact unknown. One file may
// serve for both.
func Open(country, asn string) (*DB, error) {
	db := &DB{}
	for _, f := range []struct {
		path string
		into **maxminddb.Reader
	}{{country, &db.country}, {asn, &db.asn}} {
		if f.path == "" {
			continue
		}
		r, err := maxminddb.Open(f.path)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("geo database %s: %w", f.path, err), db.Close())
		}
		*f.into = r
	}
	return db, nil
}

// Close releases the files. No lookup may be under way.
func (db *DB) Close() error {
	var errs []error
	for _, r := range []*maxminddb.Reader{db.country, db.asn} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	return errors.Join(errs...)
}

// Lookup returns the country (ISO 3166-1 alpha-2, empty when not known) and the
// number of the autonomous system (0 when not known) of ip.
func (db *DB) Lookup(ip netip.Addr) (country string, as uint32) {
	ip = ip.Unmap().WithZone("")
	if db.country != nil {
		var rec struct {
			Flat    string `maxminddb:"country_code"`
			Country struct {
				ISO string `maxminddb:"iso_code"`
			} `maxminddb:"country"`
		}
		// A record of another shape is an address that is not known.
		if db.country.Lookup(ip).Decode(&rec) == nil {
			country = rec.Flat
			if country == "" {
				country = rec.Country.ISO
			}
			if len(country) != 2 {
				country = ""
			}
		}
	}
	if db.asn != nil {
		var rec struct {
			AS uint32 `maxminddb:"autonomous_system_number"`
		}
		if db.asn.Lookup(ip).Decode(&rec) == nil {
			as = rec.AS
		}
	}
	return country, as
}
