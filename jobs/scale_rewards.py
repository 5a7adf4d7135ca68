"""Start, scale and watch the reward pool, while a run goes on.

python jobs/scale_rewards.py 8          # 8 replicas: starts the pool, or scales the one that runs
python jobs/scale_rewards.py auto       # as many as the load asks for, until interrupted
python jobs/scale_rewards.py status

ray job submit --working-dir . -- python jobs/scale_rewards.py 8
"""

from rewards.pool_cli import main

if __name__ == "__main__":
    main()
