#!/usr/bin/env bash
# A complete example: creates the environment and the demo data, pretrains a small ViT with
# motion-guided masking, stops half way, resumes from the checkpoint, and draws reconstructions.
# Environment, data and compiled programs are kept for the next run. Arguments go to training, for
# instance --config.masking.strategy=random_tube.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

data=${MGM_DEMO_DATA:-$repository/runs/small_demo_data}
workdir=${MGM_DEMO_WORKDIR:-$repository/runs/demo_$(date +%Y%m%d_%H%M%S)}
steps=${MGM_DEMO_STEPS:-360}

python -m data_prep.demo --out="$data" --num_train=1680 --num_validation=168

pretrain() {
  python -m mgm_jax.main --config=configs/demo_pretrain.py --workdir="$workdir" \
    --config.data.path="$data" --config.eval.split=validation --config.num_steps="$steps" "$@"
}
pretrain --config.stop_at_step=$((steps / 2)) "$@"
echo "stopped half way; resuming from the checkpoint"
pretrain "$@"
python -m mgm_jax.visualize --workdir="$workdir" --split=validation

cat <<END

PSNR of hidden pixels of validation clips in dB, and of the mean colour of the visible ones:
$(grep -o '"eval/psnr[^,}]*' "$workdir/metrics.jsonl" | tail -2)

checkpoint  $workdir/checkpoints/$steps
metrics     $workdir/metrics.jsonl
            tensorboard --logdir=$workdir/tensorboard  (pip install tensorboard)
pictures    $workdir/pictures
END
