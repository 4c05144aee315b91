"""libtorrent as a client of peers that are named one by one, and of a web seed.

make FILE URL PIECE_SIZE TORRENT          makes the torrent; URL "-": without a web seed
get TORRENT DIR SETTINGS LISTEN PEER…     prints the seconds to completion, then seeds until killed;
                                          SETTINGS is JSON, addresses are IP:PORT
"""
import json
import os
import sys
import time

import libtorrent as lt

REDIAL = 3  # seconds between calls to peers that were not there yet


def make(path, url, piece_size, torrent):
    files = lt.file_storage()
    files.add_file(os.path.basename(path), os.path.getsize(path))
    t = lt.create_torrent(files, piece_size=int(piece_size), flags=lt.create_torrent.v1_only)
    if url != "-":
        t.add_url_seed(url)
    lt.set_piece_hashes(t, os.path.dirname(path))
    with open(torrent, "wb") as f:
        f.write(lt.bencode(t.generate()))


def get(torrent, directory, settings, listen, *peers):
    session = lt.session({
        "listen_interfaces": listen,
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "allow_multiple_connections_per_ip": True, "connections_limit": 200, "alert_mask": 0,
        "unchoke_slots_limit": 8, "mixed_mode_algorithm": 0, "rate_limit_ip_overhead": False,
        **json.loads(settings),
    })
    p = lt.add_torrent_params()
    p.ti, p.save_path = lt.torrent_info(torrent), directory
    if os.path.exists(os.path.join(directory, p.ti.name())):  # it has the file, and does not read it to know
        p.have_pieces = [True] * p.ti.num_pieces()
        p.flags |= lt.torrent_flags.no_verify_files
    h = session.add_torrent(p)
    began = time.time()
    dialled = 0.0
    while not h.status().is_seeding:
        if time.time() - dialled > REDIAL:
            dialled = time.time()
            for peer in peers:
                ip, port = peer.split(":")
                h.connect_peer((ip, int(port)))
        time.sleep(0.1)
    print(f"{time.time() - began:.2f} {h.status().total_payload_download}", flush=True)
    while True:
        time.sleep(3600)


{"make": make, "get": get}[sys.argv[1]](*sys.argv[2:])
