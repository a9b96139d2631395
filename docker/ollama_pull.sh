# Fetches the model of LLM_MODEL_NAME into the Ollama beside us, if it is missing. A pull that fails is
# explained and tried again; nothing in the stack waits for this.
set -u

model=${LLM_MODEL_NAME:-llama3.1:latest}
case ",${COMPOSE_PROFILES:-}," in
    *,embedded,*) embedded=yes ;;
    *) embedded=no ;;
esac
endpoint=${LLM_BASE_URL:-${OPENAI_BASE_URL:-}}

case $endpoint in
    "")
        if [ "$embedded" = yes ]; then
            echo "The embedded model answers: no model is pulled."
            exit 0
        fi
        ;;
    *//ollama:*) ;;
    *)
        echo "The model is at another endpoint: no model is pulled."
        exit 0
        ;;
esac

waited=0
until ollama list >/dev/null 2>&1; do
    [ $((waited % 30)) -eq 0 ] && echo "Waiting for Ollama."
    waited=$((waited + 2))
    sleep 2
done

pause=10
while :; do
    if ollama show "$model" >/dev/null 2>&1; then
        echo "The model $model is there."
        exit 0
    fi
    echo "Pulling $model; the stack can be used meanwhile, chats say that the model is missing."
    ollama pull "$model" && continue
    echo "The pull of $model failed, its reason stands above: is the name right (LLM_MODEL_NAME)," \
        "is there a network, is the disk full? Next try in $pause s."
    sleep "$pause"
    pause=$((pause * 2))
    [ "$pause" -le 300 ] || pause=300
done
