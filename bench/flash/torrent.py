"""libtorrent as a hybrid client: a web seed and the other peers, named one by one.

make FILE URL PIECE_SIZE TORRENT          makes the torrent
get TORRENT DIR tcp|utp LISTEN_IP PEER…   prints the seconds to completion, then seeds until killed
"""
import os
import sys
import time

import libtorrent as lt

PORT = 6881
REDIAL = 3  # seconds between calls to peers that were not there yet


def make(path, url, piece_size, torrent):
    files = lt.file_storage()
    files.add_file(os.path.basename(path), os.path.getsize(path))
    t = lt.create_torrent(files, piece_size=int(piece_size), flags=lt.create_torrent.v1_only)
    t.add_url_seed(url)
    lt.set_piece_hashes(t, os.path.dirname(path))
    with open(torrent, "wb") as f:
        f.write(lt.bencode(t.generate()))


def get(torrent, directory, transport, ip, *peers):
    utp = transport == "utp"
    session = lt.session({
        "listen_interfaces": f"{ip}:{PORT}",
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "allow_multiple_connections_per_ip": True, "connections_limit": 200, "alert_mask": 0,
        "unchoke_slots_limit": 8, "mixed_mode_algorithm": 0, "rate_limit_ip_overhead": False,
        "enable_outgoing_utp": utp, "enable_incoming_utp": utp,
    })
    h = session.add_torrent({"ti": lt.torrent_info(torrent), "save_path": directory})
    began = time.time()
    dialled = 0.0
    while not h.status().is_seeding:
        if time.time() - dialled > REDIAL:
            dialled = time.time()
            for p in peers:
                h.connect_peer((p, PORT))
        time.sleep(0.1)
    print(f"{time.time() - began:.2f} {h.status().total_payload_download}", flush=True)
    while True:
        time.sleep(3600)


{"make": make, "get": get}[sys.argv[1]](*sys.argv[2:])
