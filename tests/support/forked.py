"""Processes of one fit, as torchrun starts them: forks of this one, which has imported everything.

Meant for a script that has computed nothing yet: threads of torch do not outlive a fork.
"""

import os
import socket
import sys
import traceback


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def forked(processes, function, *arguments):
    """Calls a function in so many processes that know of each other; fails where one does."""
    port, children = free_port(), []
    for rank in range(processes):
        child = os.fork()
        if not child:
            os.environ |= {
                **dict.fromkeys(("RANK", "LOCAL_RANK", "GROUP_RANK"), str(rank)),
                **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes)),
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
                **{"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "forked"},
            }
            status = 1
            try:
                function(*arguments)
                status = 0
            except SystemExit as exit_:
                status = exit_.code if isinstance(exit_.code, int) else 1
                print(exit_.code, file=sys.stderr)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert not any(ended), ended
