package portmap

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/windows"
)

// defaultGateway is the router of the default route of the interface that packets to
// the Internet take.
func defaultGateway() (netip.Addr, error) {
	var index uint32
	somewhere := &windows.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}} // RFC 5737: nobody's
	if err := windows.GetBestInterfaceEx(somewhere, &index); err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %w", errNoGateway, err)
	}
	var table *windows.MibIpForwardTable2
	if err := windows.GetIpForwardTable2(windows.AF_INET, &table); err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %w", errNoGateway, err)
	}
	defer windows.FreeMibTable(unsafe.Pointer(table))
	best, gateway := uint64(1)<<32, netip.Addr{}
	for _, r := range table.Rows() {
		if r.InterfaceIndex != index || r.DestinationPrefix.PrefixLength != 0 || r.NextHop.Data[0] == 0 {
			continue
		}
		if metric := uint64(r.Metric); metric < best {
			var a [4]byte
			binary.NativeEndian.PutUint32(a[:], r.NextHop.Data[0])
			best, gateway = metric, netip.AddrFrom4(a)
		}
	}
	if !gateway.IsValid() {
		return netip.Addr{}, errNoGateway
	}
	return gateway, nil
}
