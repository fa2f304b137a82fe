#include "tests/unit/server/image_fixture.h"
int main(void){return 0;}
