# Command C of a lease: wait for the end of training and bring it back. Limit 300 s.
. "$(dirname "$0")/lease.sh"
for _ in $(seq "${WAIT_SECONDS:-280}"); do
    # A run that failed and was started again has an end before its last one.
    if [ "$(spent)" -ge $((LEASE_SECONDS - 60)) ]; then
        tail -n 1 "$LOG" 2>/dev/null | grep -q '"end"' && break
        [ -f "$LEASE_DIR/plain/weights.safetensors" ] && break
    fi
    sleep 1
done
bring_back
tail -n 8 "$LOG"
