# What the three commands of a lease share (docs/notes/gpu.md); they source it.
#
# LEASE_DIR      where the run works: it must outlast a command, so not $OUT
# LEASE_SECONDS  that training has, from the start of command A
# LEASE_OPTIONS  more options of lease.py, for rehearsals: "--device cpu --batch 4 …"
# PYTHON         the interpreter
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
LEASE_DIR=${LEASE_DIR:-/tmp/lease} LEASE_SECONDS=${LEASE_SECONDS:-690} PYTHON=${PYTHON:-python3}
LOG=$LEASE_DIR/log.jsonl
: "${OUT:?the folder whose files come back}"

spent() { echo $(($(date +%s) - $(cat "$LEASE_DIR/started"))); }

# Copies what there is to $OUT: at most 8 files of at most 16 MiB.
bring_back() {
    if [ -d "$LEASE_DIR/plain" ]; then
        tail -c 1000000 "$LEASE_DIR/plain.log" >"$OUT/plain.log"
        cp "$LEASE_DIR/plain/log.jsonl" "$OUT/plain.jsonl" 2>/dev/null
        if [ -f "$LEASE_DIR/plain/weights.safetensors" ]; then
            split -b 15728640 -d "$LEASE_DIR/plain/weights.safetensors" "$OUT/plain."
        fi
    elif [ -e "$LEASE_DIR/saves/newest" ]; then
        # The link is followed once, so that all parts are of one save.
        cp "$(readlink -f "$LEASE_DIR/saves/newest")"/* "$OUT/"
    fi
    tail -c 4000000 "$LEASE_DIR/run.log" >"$OUT/run.log"
    cp "$LOG" "$OUT/" 2>/dev/null
    ls -l "$OUT"
}
