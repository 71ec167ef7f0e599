#!/usr/bin/env bash
# Every objective on 2,000 CIFAR-10 images with a small encoder: pretrain, evaluate features, finetune, attack.
#
#     bash scripts/cifar10_small.sh PATH/cifar10.zip OUT SEED [OBJECTIVE ...]
#
# About 7 minutes per objective on one core. The same command continues after a stop. docs/results/index.md shows the table.
set -euo pipefail
if [ $# -lt 3 ]; then echo "usage: $0 CIFAR10 OUT SEED [OBJECTIVE ...]" >&2; exit 2; fi
data=$1 out=$2 seed=$3
shift 3
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
for objective in "${@:-supervised simclr byol simsiam phinet xphinet}"; do
    for name in $objective; do
        run=$out/$name-seed$seed
        sslkuramoto train "cifar10-small-akorn-$name" "data.root=$data" "seed=$seed" --run "$run"
        classifier=$run
        if [ "$name" != supervised ]; then
            sslkuramoto evaluate "$run" knn linear clustering finetune-cifar10-small
            classifier=$run/finetune
        else
            sslkuramoto evaluate "$run" knn linear clustering clean
        fi
        sslkuramoto evaluate "$classifier" robustness-quick
    done
done
