"""The command line: fit, validate, test, predict, prepare, detect and inspect.

    python train.py fit --config configs/demo.yaml
    python train.py fit --config configs/criteo/deepfm.yaml --data.path train.txt
    python train.py predict --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt \\
        --data.predict_path new_rows.txt
    python train.py detect --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt
    python train.py inspect RUN/checkpoints/best.ckpt
"""

from zoo.run.main import main

if __name__ == "__main__":
    main()
