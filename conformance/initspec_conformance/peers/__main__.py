"""``python -m initspec_conformance.peers``."""

from initspec_conformance.peers.board import main

raise SystemExit(main())
