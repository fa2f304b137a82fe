#include "tests/unit/locator/fixture.h"
int main(void){return 0;}
