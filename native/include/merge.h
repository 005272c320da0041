/* Several layers of one tree made into one. */
#pragma once

#include "error.h"
#include "run.h"

/* Fills the empty directory `target` so that, as a layer put in the place of the run, it shows what the run shows over
 * whatever lies below. Files are linked where that can be, so it must be on the run's file system. After a failure the
 * target holds a part. */
int merge_run(const struct run *run, int target, struct err *err);
