# Command A of a lease: check, start training, see that it runs. Limit 240 s, returns at 200 s.
#
#     bash scripts/gpu/call_a.sh [RECIPE [WEIGHTS]]
#
# Without WEIGHTS the run starts from what the package ships for the recipe's network, or from nothing;
# a network with a trained image encoder cannot start from nothing where the encoder's file is not.
. "$(dirname "$0")/lease.sh"
RECIPE=${1:-nano} WEIGHTS=${2:-}
rm -rf "$LEASE_DIR" && mkdir -p "$LEASE_DIR" && date +%s >"$LEASE_DIR/started"
export LEASE_STARTED=$(cat "$LEASE_DIR/started")
nvidia-smi --query-gpu=name,memory.used --format=csv,noheader 2>/dev/null
echo "$(nproc --all) cores, recipe $RECIPE, from ${WEIGHTS:-what is shipped}"

timeout -s KILL "${CHECK_SECONDS:-60}" "$PYTHON" scripts/gpu/check.py --recipe "$RECIPE" \
    ${WEIGHTS:+--start-from "$WEIGHTS"} --start "$LEASE_DIR/start" --flags "$LEASE_DIR/flags" \
    $CHECK_OPTIONS 2>&1 | tee "$LEASE_DIR/run.log" | tail -n 12
WEIGHTS=${WEIGHTS:-$(cat "$LEASE_DIR/start" 2>/dev/null)}

# A run that fails is started again from its own newest weights, for the time that is left.
cat >"$LEASE_DIR/train.sh" <<END
start="$WEIGHTS"
for try in 1 2 3 4; do
    $PYTHON scripts/gpu/lease.py --recipe $RECIPE --folder $LEASE_DIR --seconds $LEASE_SECONDS \\
        \${start:+--start-from \$start} --run \$try $(cat "$LEASE_DIR/flags" 2>/dev/null) $LEASE_OPTIONS
    code=\$?
    [ \$code = 1 ] && [ \$((\$(date +%s) - LEASE_STARTED)) -lt \$(($LEASE_SECONDS - 60)) ] || break
    [ -f $LEASE_DIR/ema.safetensors ] && start=$LEASE_DIR/ema.safetensors
done
exit \$code
END
# In a session of its own, so that it outlasts this command.
setsid bash "$LEASE_DIR/train.sh" >>"$LEASE_DIR/run.log" 2>&1 &
training=$!

steps() { grep -qs '"step": 20,.*per_second' "$LOG"; }
for _ in $(seq "${WATCH_SECONDS:-75}"); do
    sleep 1
    steps || ! kill -0 $training 2>/dev/null && break
done
if ! steps && ! grep -qs '"written"' "$LOG"; then
    echo "no 20 steps: the plain trainer takes over"
    tail -n 25 "$LEASE_DIR/run.log"
    kill -TERM -- -$training
    sleep 3
    mkdir -p "$LEASE_DIR/plain"
    setsid "$PYTHON" scripts/gpu/train.py "$RECIPE" --batch 64 --output "$LEASE_DIR/plain" \
        ${WEIGHTS:+--start-from "$WEIGHTS"} --max-seconds $((LEASE_SECONDS - $(spent) - 40)) \
        $PLAIN_OPTIONS >"$LEASE_DIR/plain.log" 2>&1 &
fi
while [ "$(spent)" -lt "${RETURN_AT:-200}" ]; do sleep 1; done
bring_back
grep -h per_second "$LOG" "$LEASE_DIR/plain/log.jsonl" 2>/dev/null | tail -n 4
nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv,noheader 2>/dev/null
uptime
