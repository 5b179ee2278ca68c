// How many threads a kernel of the CPU may use.
#pragma once

namespace sdfast {

// As torch.get_num_threads() says in this thread of Python's; one in a process that was forked. Needs the GIL.
int num_threads();

}  // namespace sdfast
